"""Every adapter under the suite of its port: in memory, on moto, on DynamoDB Local."""
