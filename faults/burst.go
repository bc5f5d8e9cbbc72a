package faults

import (
	"context"
	"errors"
	"fmt"
)

// burst makes more calls at once than the pool lets wait: option n of them, 100 by default.
// It is for plans that aim at the pool. Evidence: the pool told that it refused some because
// too many waited.
func burst(_ context.Context, v *Victim) (*Injury, error) {
	n, err := v.Options.Int("n", 100)
	switch {
	case err != nil:
		return nil, err
	case n < 1 || n > mostRate:
		return nil, fmt.Errorf("option n is %d; it must be from 1 to %d", n, mostRate)
	case v.System.burst == nil:
		return nil, errors.New("nobody loads the system")
	}
	before := v.System.refused()
	v.System.burst(int(n))
	return &Injury{Landed: func(ctx context.Context) (string, error) {
		for {
			changed := v.System.changed()
			if now := v.System.refused(); now > before {
				return fmt.Sprintf("%d calls at once: the pool has refused %d so far because too many waited", n, now-before), nil
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return "", fmt.Errorf("none of %d calls was refused because too many waited", n)
			}
		}
	}}, nil
}
