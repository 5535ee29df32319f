"""Work to be done: model dimensions, operators, number formats and routing traces."""
