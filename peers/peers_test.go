package peers_test

import (
	"strings"
	"testing"

	"github.com/poolproof/poolproof/peers"
	"github.com/poolproof/poolproof/peers/ants"
	"github.com/poolproof/poolproof/peers/commons1"
	"github.com/poolproof/poolproof/peers/commons2"
	"github.com/poolproof/poolproof/peers/pond"
	"github.com/poolproof/poolproof/peers/puddle1"
	"github.com/poolproof/poolproof/peers/puddle2"
	"github.com/poolproof/poolproof/peers/redigo"
	"github.com/poolproof/poolproof/peers/semaphore"
	"github.com/poolproof/poolproof/peers/sql"
	"github.com/poolproof/poolproof/props"
)

// Every peer has its source, by the name of its package, and targets whose names begin with
// that and are not used twice.
func TestPeersHaveTargets(t *testing.T) {
	targets := map[string][]props.Target{
		"ants": ants.Targets(), "commons1": commons1.Targets(), "commons2": commons2.Targets(), "pond": pond.Targets(),
		"puddle1": puddle1.Targets(), "puddle2": puddle2.Targets(), "redigo": redigo.Targets(),
		"semaphore": semaphore.Targets(), "sql": sql.Targets(),
	}
	seen := map[string]bool{}
	for _, p := range peers.List() {
		if _, err := peers.Sources.ReadFile(p.Name + "/" + p.Name + ".go"); err != nil {
			t.Error(err)
		}
		if len(targets[p.Name]) == 0 {
			t.Errorf("%s has no target", p.Name)
		}
		for _, target := range targets[p.Name] {
			if !strings.HasPrefix(target.Name, p.Name) || seen[target.Name] {
				t.Errorf("%s: a target is named %q; want the peer's name, and one of its own", p.Name, target.Name)
			}
			seen[target.Name] = true
		}
	}
}
