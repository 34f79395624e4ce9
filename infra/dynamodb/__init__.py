"""The store over DynamoDB: one table, its conditions, its items, and the adapter that uses them."""
