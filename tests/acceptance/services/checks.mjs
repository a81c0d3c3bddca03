// What JupyterLab and VS Code do with a server, through the library that they do it with.
//
//   node checks.mjs URL TOKEN KERNEL v1|legacy|gateway
//
// A gateway's WebSocket client cannot carry buffers (jupyter-widgets/ipywidgets#3798), and loses its connection over
// them, so it is spared those checks.
//
// Prints one JSON line per check: {"name", "error": null | string}. A check that fails does not stop the others.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.SERVICES_FROM + '/');
const {
  KernelManager, KernelSpecManager, ServerConnection, SessionManager
} = require('@jupyterlab/services');
const { WebSocket } = require('ws');

const [url, token, kernelName, framing] = process.argv.slice(2);
const WITHIN_MS = 10_000;

class WithoutSubprotocol extends WebSocket {
  constructor(address) {
    super(address);
  }
}
const serverSettings = ServerConnection.makeSettings({
  baseUrl: url,
  wsUrl: url.replace(/^http/, 'ws'),
  token,
  appendToken: true,
  WebSocket: framing === 'legacy' ? WithoutSubprotocol : WebSocket
});
const specs = new KernelSpecManager({ serverSettings });
const kernels = new KernelManager({ serverSettings });
const sessions = new SessionManager({ serverSettings, kernelManager: kernels });
let kernel;

// helpers --------------------------------------------------------------------------------------------------------

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${WITHIN_MS} ms`)), WITHIN_MS);
  });
  const first = Promise.race([promise, late]).finally(() => clearTimeout(timer));
  first.catch(() => {}); // whoever awaits it hears of it; nobody may, after another check's failure
  return first;
}

/** Run code; gives its reply and what it published, without the notices of a wait. */
function start(code, { on = kernel, answer = null, ...options } = {}) {
  const future = on.requestExecute({ code, allow_stdin: answer !== null, stop_on_error: true, ...options });
  const published = [];
  future.onIOPub = message => {
    if (message.content.metadata?.perijove?.role !== 'wait' && message.header.msg_type !== 'clear_output') {
      published.push(message);
    }
  };
  future.onStdin = message => {
    published.push(message);
    future.sendInputReply({ status: 'ok', value: answer }, message.header);
  };
  const done = within(future.done, `the reply to ${JSON.stringify(code)}`).then(reply => ({ reply, published }));
  return { future, published, done };
}

const run = (code, options) => start(code, options).done;
const types = published => published.map(message => message.header.msg_type);
const text = published => published.map(m => m.content.text ?? m.content.data?.['text/plain'] ?? '').join('');
const bytes = buffer => [...new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength)];

function until(signal, condition, what) {
  return within(new Promise(resolve => {
    const look = (_, argument) => {
      if (condition(argument)) {
        signal.disconnect(look);
        resolve(argument);
      }
    };
    signal.connect(look);
  }), what);
}

async function request(path) {
  return ServerConnection.makeRequest(new URL(path, url).href, {}, serverSettings);
}

// checks, in this order ------------------------------------------------------------------------------------------

const checks = {
  async 'kernelspecs with logos'() {
    await specs.ready;
    const spec = specs.specs.kernelspecs[kernelName];
    assert.equal(spec.language, 'python');
    assert.ok(specs.specs.kernelspecs[specs.specs.default]);
    const logo = await request(Object.values(spec.resources)[0]);
    assert.equal(logo.status, 200);
    assert.match(logo.headers.get('content-type'), /^image\//);
  },

  async 'a kernel is started'() {
    kernel = await kernels.startNew({ name: kernelName });
    const info = await within(kernel.info, 'kernel_info_reply');
    assert.equal(info.status, 'ok');
    assert.equal(info.language_info.name, 'python');
    assert.equal(kernel.name, kernelName);
    await kernels.refreshRunning();
    const model = [...kernels.running()].find(({ id }) => id === kernel.id);
    assert.equal(typeof model.connections, 'number');
    assert.ok(Date.parse(model.last_activity) <= Date.now() + 1000);
  },

  async 'a cell'() {
    const { reply, published } = await run('import sys; print("out", flush=True); print("err", file=sys.stderr); 6 * 7');
    assert.equal(reply.content.status, 'ok');
    assert.equal(reply.content.execution_count, 1);
    // How many messages a print comes in is a matter of timing.
    const kinds = types(published).filter((type, i, all) => type !== 'stream' || all[i - 1] !== 'stream');
    assert.deepEqual(kinds, ['status', 'execute_input', 'stream', 'execute_result', 'status']);
    assert.equal(text(published), 'out\nerr\n42');
    assert.ok(published.every(m => m.parent_header.msg_id === reply.parent_header.msg_id));
  },

  async 'an error ends what is queued behind it'() {
    const failing = start('import time; time.sleep(0.3); 1 / 0');
    const behind = start('"must not run"');
    const { reply, published } = await failing.done;
    assert.equal(reply.content.ename, 'ZeroDivisionError');
    assert.equal(published.filter(m => m.header.msg_type === 'error').length, 1);
    assert.ok(['aborted', 'error'].includes((await behind.done).reply.content.status));
    assert.equal(text((await run('"again"')).published), "'again'");
  },

  async 'input'() {
    const { published } = await run('name = input("who? "); print("hello", name)', { answer: 'Ada' });
    const [question] = published.filter(m => m.header.msg_type === 'input_request');
    assert.deepEqual([question.content.prompt, question.content.password], ['who? ', false]);
    assert.match(text(published), /hello Ada/);
  },

  async 'display_id, clear_output and a large display'() {
    const { published } = await run(
      'from IPython.display import display\nh = display("one", display_id=True)\nh.update("two")\nprint("x" * 1_500_000)'
    );
    const [shown] = published.filter(m => m.header.msg_type === 'display_data');
    const [updated] = published.filter(m => m.header.msg_type === 'update_display_data');
    assert.equal(updated.content.transient.display_id, shown.content.transient.display_id);
    assert.equal(updated.content.data['text/plain'], "'two'");
    const streams = published.filter(m => m.header.msg_type === 'stream');
    assert.equal(streams.reduce((sum, m) => sum + m.content.text.length, 0), 1_500_001);
  },

  async 'completion, inspection, is_complete and history'() {
    await run('a_rather_long_name = 1');
    const completed = await within(kernel.requestComplete({ code: 'a_rather_l', cursor_pos: 10 }), 'complete_reply');
    assert.ok(completed.content.matches.includes('a_rather_long_name'));
    const inspected = await within(
      kernel.requestInspect({ code: 'print', cursor_pos: 5, detail_level: 0 }), 'inspect_reply');
    assert.equal(inspected.content.found, true);
    const complete = await within(kernel.requestIsComplete({ code: 'for x in y:' }), 'is_complete_reply');
    assert.equal(complete.content.status, 'incomplete');
    const history = await within(
      kernel.requestHistory({ hist_access_type: 'tail', n: 1, output: false, raw: true }), 'history_reply');
    assert.equal(history.content.history.at(-1)[2], 'a_rather_long_name = 1');
  },

  async 'interrupt'() {
    const sleeping = start('print("asleep", flush=True)\nimport time; time.sleep(60)');
    await until(kernel.iopubMessage, m => m.content.text === 'asleep\n', 'the first line');
    await kernel.interrupt();
    assert.equal((await sleeping.done).reply.content.ename, 'KeyboardInterrupt');
    assert.equal(text((await run('"after"')).published), "'after'");
  },

  async 'a comm from here, with buffers'() {
    await run(`
def opened(comm, message):
    comm.send({"heard": message["content"]["data"]}, buffers=[bytes(b * 2 for b in message["buffers"][0])])
    @comm.on_msg
    def received(message):
        comm.send({"heard": message["content"]["data"]}, buffers=[bytes(reversed(bytes(b))) for b in message["buffers"]])
get_ipython().kernel.comm_manager.register_target("echo", opened)`);
    const comm = kernel.createComm('echo');
    const heard = [];
    let tell;
    comm.onMsg = message => {
      heard.push([message.content.data.heard, message.buffers.map(bytes)]);
      tell?.();
    };
    const next = () => within(new Promise(resolve => (tell = resolve)), 'a message on the comm');
    let arrives = next();
    await within(comm.open({ n: 1 }, {}, [new Uint8Array([1, 2, 3]).buffer]).done, 'the end of comm_open');
    if (heard.length === 0) await arrives;
    arrives = next();
    await within(
      comm.send({ n: 2 }, {}, [new Uint8Array([4, 5]).buffer, new Uint8Array([]).buffer]).done, 'the end of comm_msg');
    if (heard.length === 1) await arrives;
    assert.deepEqual(heard, [[{ n: 1 }, [[2, 4, 6]]], [{ n: 2 }, [[5, 4], []]]]);
    comm.close(); // its end is lost now and then, on jupyter_server too: the library deletes the comm's subshell meanwhile
  },

  async 'a comm from there, with buffers'() {
    const got = new Promise(resolve => {
      kernel.registerCommTarget('greet', (comm, message) => resolve([comm, message]));
    });
    await run('from comm import create_comm\nc = create_comm(target_name="greet", data={"n": 1}, buffers=[b"\\x07\\x08"])');
    const [comm, message] = await within(got, 'comm_open');
    assert.deepEqual([message.content.data, message.buffers.map(bytes)], [{ n: 1 }, [[7, 8]]]);
    const info = await within(kernel.requestCommInfo({ target_name: 'greet' }), 'comm_info_reply');
    assert.deepEqual(Object.keys(info.content.comms), [comm.commId]);
    const closed = within(new Promise(resolve => (comm.onClose = resolve)), 'comm_close');
    await run('c.close()');
    await closed;
  },

  async 'a second connection sees the same kernel'() {
    const second = kernels.connectTo({ model: kernel.model });
    await within(second.info, 'kernel_info_reply');
    const heard = until(second.iopubMessage, m => m.content.text === 'for all\n', "the other's output");
    await run('shared = 5; print("for all", flush=True)');
    await heard;
    assert.equal(text((await run('shared', { on: second })).published), '5');
    second.dispose();
  },

  async 'reconnecting'() {
    const before = kernel.clientId;
    await within(kernel.reconnect(), 'the connection');
    assert.equal(kernel.clientId, before);
    assert.equal(text((await run('shared')).published), '5');
  },

  async 'restart'() {
    await within(kernel.restart(), 'the restart');
    const { reply } = await run('shared');
    assert.deepEqual([reply.content.ename, reply.content.execution_count], ['NameError', 1]);
    assert.equal(text((await run('"lives"')).published), "'lives'");
  },

  async 'shutdown'() {
    const { id } = kernel;
    await within(kernel.shutdown(), 'the shutdown');
    await kernels.refreshRunning();
    assert.equal(await kernels.findById(id), undefined);
    assert.equal((await request(`api/kernels/${id}`)).status, 404);
  },

  async 'a session'() {
    const session = await sessions.startNew({
      path: 'folder/one.ipynb', name: 'one.ipynb', type: 'notebook', kernel: { name: kernelName }
    });
    assert.equal(text((await run('"in a session"', { on: session.kernel })).published), "'in a session'");
    await session.setPath('folder/two.ipynb');
    await sessions.refreshRunning();
    const model = [...sessions.running()].find(({ id }) => id === session.id);
    assert.deepEqual([model.path, model.kernel.id], ['folder/two.ipynb', session.kernel.id]);
    const found = await sessions.findByPath('folder/two.ipynb');
    assert.equal(found.id, session.id);
    const kernelId = session.kernel.id;
    await within(session.shutdown(), 'the shutdown');
    assert.equal((await request(`api/sessions/${session.id}`)).status, 404);
    assert.equal((await request(`api/kernels/${kernelId}`)).status, 404);
  }
};

for (const [name, check] of Object.entries(checks)) {
  if (framing === 'gateway' && name.endsWith('with buffers')) continue;
  let error = null;
  try {
    await check();
  } catch (caught) {
    error = String(caught.stack ?? caught);
  }
  console.log(JSON.stringify({ name, error }));
}
process.exit(0);
