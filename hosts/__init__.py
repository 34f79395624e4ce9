"""Places where the handlers run without AWS: this machine (`local`), and what stands for AWS in tests (`engines`)."""
