"""Pictures of results. Every function returns a Figure and shows nothing."""

from netinverse.plots.grid import reconstruction_grid as reconstruction_grid
from netinverse.plots.networks import structure as structure
from netinverse.plots.studies import study as study
from netinverse.plots.traces import convergence as convergence
from netinverse.plots.traces import rule_trace as rule_trace
