"""The text of ``--help``, page by page. A paragraph that begins with a backspace keeps its lines."""

PROGRAM = "Reconstruct the inputs of trained networks from their noisy outputs, with a certificate, and study how stable that is."

EXIT_CODES = """\b
Exit codes:
  0    done
  1    a fault of the program; the traceback says where
  2    input that cannot be used; one line on stderr says what to change
  3    with --strict: the answer is written, but not every sample converged
  130  interrupted by Ctrl-C

\b
Results go to files and a summary of them to stdout; progress and warnings go to stderr.
netinverse COMMAND --help describes a command, with examples.
netinverse --install-completion lets the shell complete commands, options and their values.
"""

INVERT = """Reconstruct the inputs of MODEL from DATA and write them, with alpha, status and certificate, to OUT.

Minimises fidelity(F(x), y) + alpha R(x), sample by sample: F is MODEL, y a row of DATA, R the regulariser. Without --alpha the
weight is found by a rule: the discrepancy principle where --noise-level is given.
"""

INVERT_EXAMPLES = """\b
Examples:
  netinverse invert encoder.pt2 codes.npy -o result.npz --noise-level 0.5 --lower 0 --upper 1
  netinverse invert encoder.pt2 codes.npy -o result.npz --noise-level levels.npy --plot result.png
  netinverse invert encoder.pt2 codes.npy -o result.npz --alpha 0.01 --regulariser tikhonov
  netinverse invert encoder.pt2 codes.npy -o result.npz --noise-level 0.5 --json --strict | jq .samples

\b
Files:
  MODEL  of torch.export.save. A pickle, which could run any code, is refused.
  DATA   of numpy.save or numpy.savez, real numbers, the samples first.
  OUT    read it with netinverse.Reconstruction.load(OUT), or numpy.load(OUT)["x"].
"""

INSPECT = """Print the lifted structure of MODEL: its affine maps, its activations and their potentials.

A node that is no proximal map of its input is called smooth; where there is none, the network is lifted exactly.
"""

INSPECT_EXAMPLES = """\b
Examples:
  netinverse inspect resnet.pt2
  netinverse inspect resnet.pt2 --output layer3.1.relu --plot graph.svg
  netinverse inspect resnet.pt2 --json | jq '.nodes[].kind'
"""

STUDY = "How the error of the inversion depends on the noise, for inputs that are known: stability, rates."

STABILITY = """Invert the outputs of known inputs at every noise level: how the error follows the noise.

Writes to the folder OUT: report.html, a page with figures, table and settings; study.png; study.parquet, the table, read by
netinverse.Study.load; cells/, what is finished. An interrupted study goes on from there with the same command.
"""

STABILITY_EXAMPLES = """\b
Examples:
  netinverse study stability encoder.pt2 truth.npy -o study
  netinverse study stability encoder.pt2 truth.npy -o study --rule discrepancy --rule lepskii --seeds 5 --jobs 4
  netinverse study stability encoder.pt2 truth.npy -o worst --kind worst-case --noise-levels 0.01,0.1
"""

RATES = """As stability, over decades of noise and solved accurately: how fast the error vanishes with the noise.

Prints, for each rule, the slope of the error against the noise in double logarithmic scale, with its interval.
"""

RATES_EXAMPLES = """\b
Examples:
  netinverse study rates layer.pt2 truth.npy -o rates
  netinverse study rates layer.pt2 truth.npy -o rates --noise-levels 1e-4,1e-3,1e-2,1e-1 --regulariser l1
"""

EXPERIMENT = """Run a script of experiments/: a figure or a table of the documentation.

Works in a checkout of the project, where that folder lies; results go to out/ there.
"""

EXPERIMENT_EXAMPLES = """\b
Examples:
  netinverse experiment demo
  netinverse experiment rates --size smoke
"""
