"""What goes over the wire: the requests and answers of the service."""
