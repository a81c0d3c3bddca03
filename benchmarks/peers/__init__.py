"""What Perijove is compared with, each driven as its own documents say."""
