from .classifier_card import write_classifier_card as write_classifier_card
from .model_card import write_card as write_card
from .report_run import ReportRun as ReportRun
from .write import write_report as write_report
