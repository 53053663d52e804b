"""`rnnx bench`: cells beside other libraries' layers, each library in a process of its own."""
