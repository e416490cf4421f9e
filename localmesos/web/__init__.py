"""How both are reached: ports, streams, and JSON that is a protobuf message."""
