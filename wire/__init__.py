"""What goes over the wire: Mesos messages and streams, and Serenity's own.  Imports no other room."""
