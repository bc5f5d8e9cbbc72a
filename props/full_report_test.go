package props

import (
	"testing"

	"github.com/poolproof/poolproof/model"
)

// TestPlayText: every play that has its own effect is read as it was written.
func TestPlayText(t *testing.T) {
	for kind := model.OpAcquire; kind < fullOps; kind++ {
		for variant := range uint8(5) {
			play := fullPlay{model.Op{Kind: kind}, variant}.plain()
			switch kind {
			case model.OpAcquire, model.OpTry, model.OpCancel, model.OpRelease, model.OpReleaseUnusable, model.OpDiscard, model.OpGiveBack, fullOpStale, fullOpAgain:
				play.op.Client = 2
			case model.OpEndSession:
				play.op.Session = 1
			case model.OpResize:
				play.op.Max = 2
			case model.OpClose, model.OpForce, model.OpTick:
			default:
				play.op.Worker = 3
			}
			if got, err := parseFullPlay(play.String()); err != nil || got != play {
				t.Errorf("%q is read as %+v (%v)", play, got, err)
			}
		}
	}
	for _, line := range []string{"tick variant=1", "close variant=2", "close variant=0", "close variant=x", "close variant="} {
		if p, err := parseFullPlay(line); err == nil {
			t.Errorf("%q is read as %+v, want an error", line, p)
		}
	}
}
