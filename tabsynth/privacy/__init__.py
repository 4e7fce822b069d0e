"""What a release costs and how it is paid: budget, ledger, mechanisms, discovery, DP-SGD."""
