"""What the control socket, :55055, :4242 and :8080 answer."""
