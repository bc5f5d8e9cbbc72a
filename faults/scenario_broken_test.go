package faults

import "testing"

// onFakes returns a scenario on fakes, with a kit in which what hits a worker kills it, and
// what hits nobody in particular does no harm.
func onFakes(s Scenario) RunConfig {
	cfg := s.Scale(0.2).Config(1, Memory, nil)
	own := testKit(new([][]byte))
	cfg.Kit = Kit{"dud": own["dud"], "kill": own["kill"], "burst": own["burst"]}
	for _, f := range cfg.Plan.Faults {
		switch {
		case cfg.Kit[f.Kind] != nil:
		case f.Who.Aim == AtPool || f.Who.Aim == AtStarts:
			cfg.Kit[f.Kind] = own["spare"]
		default:
			cfg.Kit[f.Kind] = own["kill"]
		}
	}
	return cfg
}

// TestScenariosFail: a pool that replaces no worker fails each scenario, and so does a fault
// of it that does not land.
func TestScenariosFail(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			cfg := onFakes(s)
			cfg.System.forge = tampered{config: startsOnly(scenarioSize)}.forge
			expectFinding(t, inBubble(t, cfg), "capacity did not come back")
			cfg = onFakes(s)
			kind := cfg.Plan.Faults[0].Kind
			cfg.Kit[kind] = cfg.Kit["dud"]
			r := inBubble(t, cfg)
			expectFinding(t, r, "it did not land within")
			expectFinding(t, r, kind+" landed for each time that it was planned: 0 landed")
		})
	}
}
