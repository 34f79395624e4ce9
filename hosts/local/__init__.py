"""Everything on one machine, without an account: the API, the queue, the schedule, the functions.

The three handlers run as they do in Lambda: each instance is a process of its own that gets one event at a
time, in the shape that AWS sends. What stands around them here is API Gateway (``gateway``), an SQS event
source mapping (``feeder``) and an EventBridge schedule (``schedule``), over real queues and tables of an
embedded engine or of any endpoint.
"""
