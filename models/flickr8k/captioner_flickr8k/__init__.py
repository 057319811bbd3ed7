"""The captioner model flickr8k: data only. `captioner.load("flickr8k")` loads it."""
