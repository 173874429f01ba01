"""One file a job: pure logic between the tensors of the server and the answers to the caller."""
