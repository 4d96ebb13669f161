"""A plug-in for autopeft: the method `group_gain` and the search space `gains`."""
