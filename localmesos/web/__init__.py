"""How master and agent are reached: ports, streams, and JSON that is a protobuf message."""
