"""How events come, besides Event Grid's own deliveries: by a storage queue that lies behind a firewall."""
