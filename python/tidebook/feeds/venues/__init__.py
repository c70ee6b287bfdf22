"""What is particular about each venue: one module, one `VenueProtocol` each."""
