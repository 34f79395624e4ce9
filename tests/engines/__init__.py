"""The engines that other tests rely on, and the handlers under the real Lambda runtime client."""
