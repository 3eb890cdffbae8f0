"""Studies: many noise levels, seeds, samples and rules at once, each row beside its bound; and inversions of whole data sets."""

from netinverse.studies.convergence import convergence_study as convergence_study
from netinverse.studies.data_set import InvertedDataSet as InvertedDataSet
from netinverse.studies.data_set import invert_data_set as invert_data_set
from netinverse.studies.rates import Rate as Rate
from netinverse.studies.stability import stability_study as stability_study
from netinverse.studies.study import Study as Study
