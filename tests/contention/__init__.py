"""Four processes of eight threads each, contending for the same items and the same runs of one DynamoDB Local."""
