"""One run of one study: plan, driver, warm start."""
