"""How good answers are: metrics, intervals, tests, reports and figures."""
