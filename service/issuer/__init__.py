"""The development issuer: stands where the company's identity provider stands in production."""
