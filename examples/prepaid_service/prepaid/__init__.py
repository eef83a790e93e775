"""A prepaid service: virtual servers, paid from balances that Tallywire keeps."""
