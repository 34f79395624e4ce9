"""LocalStack without Docker or an account: CloudFormation, REST API, SQS, S3, EventBridge and Lambda on this machine.

`engine` starts it from the project's Python. The other modules run in LocalStack's own: `host` starts it there, and
`executor` is how it runs functions.
"""
