package props

import (
	"math/rand/v2"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// Every two entry points are drawn together, to be called at one moment, and so is each of
// them with the letting go of a hook that was held.
func TestEveryPairIsDrawn(t *testing.T) {
	verbs := []genVerb{
		genVAcquire, genVTry, genVRelease, genVDiscard, genVCancel, genVResize, genVReset, genVCreate, genVAgain, genVClose, genVChurn,
	}
	type pair [2]genVerb
	of := func(a, b genVerb) pair { return pair{min(a, b), max(a, b)} }
	drawn := map[pair]int{}
	v := newGenVerifier(t, tinyTarget(2, tinyCorrect))
	for n := range uint64(3000) {
		rng := rand.New(rand.NewPCG(1, n))
		f, _ := v.run(t, func(r *genRun) *model.PromiseViolation {
			broken := newGenDrawer(func(string) uint64 { return rng.Uint64() }, genProfiles()[1]).play(r)
			for i := range r.ops {
				for j := i; j < len(r.ops)-1 && r.ops[j].together; j++ {
					drawn[of(r.ops[i].verb, r.ops[j+1].verb)]++
				}
			}
			return broken
		})
		if f != nil {
			t.Fatalf("run %d: %v\n%s", n, f.violation, f.script("tiny"))
		}
	}
	for i, a := range verbs {
		for _, b := range append(verbs[i:len(verbs):len(verbs)], genVOpen) {
			if drawn[of(a, b)] == 0 {
				t.Errorf("%s and %s: never drawn together", a, b)
			}
		}
	}
}
