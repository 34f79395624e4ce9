"""The test kit that users get: what it says when it is used wrongly, and that it does not pass without looking."""
