package main

import (
	"fmt"
	"slices"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool/process"
)

// scenarioCases returns all scenarios, in the order in which they are run.
func scenarioCases() []chaosCase {
	var cases []chaosCase
	for _, s := range faults.Scenarios() {
		cases = append(cases, scenarioCase(s))
	}
	return cases
}

func scenarioCase(s faults.Scenario) chaosCase {
	return chaosCase{
		name: s.Name, about: s.Does,
		unfit: func(w *chaosWorkers) string {
			for i := range s.Plan.Faults {
				if reason := w.unfit(s.Plan.Faults[i].Kind); reason != "" {
					return reason
				}
			}
			return ""
		},
		config: func(w *chaosWorkers, scale float64, seed uint64) faults.RunConfig {
			var workers *process.Config
			if w.layer != faults.Memory {
				workers = &w.config
			}
			return s.Scale(scale).Config(seed, w.layer, workers)
		},
	}
}

func scenarioNames() []string {
	var names []string
	for _, s := range faults.Scenarios() {
		names = append(names, s.Name)
	}
	return names
}

// need is what a kind of fault cannot do without.
type need struct {
	layers []faults.Layer // empty: any
	method string         // of the demo worker, which has the worker harm itself; empty: none
}

// needs lists what kinds of faults cannot do without; those that are not listed need nothing.
func needs() map[string]need {
	processes := []faults.Layer{faults.Process}
	frames := []faults.Layer{faults.Wire, faults.Process}
	starts := []faults.Layer{faults.Memory, faults.Process}
	all := map[string]need{
		"kill": {layers: starts}, "stop": {layers: starts}, "segv": {layers: processes}, "cpu": {layers: processes},
		"hog": {processes, "hog"}, "descriptors": {processes, "exhaust"}, "disk": {processes, "write_file"},
		"start-flood": {layers: processes},
	}
	for _, kind := range []string{"start-exit", "start-hang", "start-slow"} {
		all[kind] = need{layers: starts}
	}
	for _, kind := range []string{
		"flip", "truncate", "oversize", "garbage", "duplicate", "late", "wrong-id", "noise", "exit-mid-frame",
		"partition", "stall", "delay", "start-version",
	} {
		all[kind] = need{layers: frames}
	}
	return all
}

// unfit says why a kind of fault cannot be injected into such workers; empty: it can.
func (w *chaosWorkers) unfit(kind string) string {
	n := needs()[kind]
	switch {
	case faults.Standard()[kind] == nil:
		return fmt.Sprintf("there is no injector for %s", kind)
	case len(n.layers) > 0 && !slices.Contains(n.layers, w.layer):
		return fmt.Sprintf("%s cannot be injected into workers of the layer %s", kind, w.name)
	case n.method != "" && w.methods != nil && !slices.Contains(w.methods, n.method):
		return fmt.Sprintf("%s needs the worker's cooperation: it has no method %s, as the demo worker has", kind, n.method)
	}
	return ""
}
