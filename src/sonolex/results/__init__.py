"""Run folders in; tables, intervals, differences, plots and a web page out."""
