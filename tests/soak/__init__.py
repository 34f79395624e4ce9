"""The soak on trial: that it accounts as it says, and notices what is wrong."""
