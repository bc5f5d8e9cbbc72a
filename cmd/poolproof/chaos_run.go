package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/poolproof/poolproof/faults"
)

// runAll runs one case after the other. The report has rows for all of them even if an
// error cuts it short.
func (f *chaosFlags) runAll(ctx context.Context, stderr io.Writer, cases []chaosCase, w *chaosWorkers, report *chaosReport) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	show := newDisplay(stderr, func(err error) {
		if errors.Is(err, syscall.EPIPE) { // nobody is there to read
			cancel(err)
		}
	})
	defer show.close()
	show.line("seed %d", f.seed)
	var failure error
	for i := range cases {
		c := &cases[i]
		row := chaosRow{Scenario: c.name, About: c.about, Layer: w.name, Verdict: verdictNotRun, Replay: f.replay(c, w)}
		switch reason := c.unfit(w); {
		case ctx.Err() != nil:
			row.Reason = "the command was interrupted"
		case failure != nil:
			row.Reason = "one before it could not be run"
		case reason != "":
			row.Reason = reason
			show.line("%s: %s: %s", c.name, verdictNotRun, reason)
		default:
			failure = f.runCase(ctx, show, c, w, &row)
		}
		report.Rows = append(report.Rows, row)
	}
	if ctx.Err() != nil {
		return errors.Join(fmt.Errorf("interrupted: %w", context.Cause(ctx)), failure)
	}
	return failure
}

// runCase runs a case and fills in its row. The error says what could not be done at all.
func (f *chaosFlags) runCase(ctx context.Context, show *display, c *chaosCase, w *chaosWorkers, row *chaosRow) error {
	cfg := c.config(w, f.scale, f.seed)
	if f.history != "" {
		cfg.Dir = filepath.Join(f.history, c.name)
		if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
			return fmt.Errorf("--history: %w", err)
		}
	}
	view := show.chaos(c.name, &cfg)
	cfg.Progress, cfg.Sampled = view.progress, view.sampled
	row.Plan = cfg.Plan.String()
	for _, criterion := range cfg.Criteria {
		row.Criteria = append(row.Criteria, criterion.Says)
	}
	report, err := faults.Run(ctx, cfg)
	if err != nil {
		view.end(row)
		row.Reason = err.Error()
		return fmt.Errorf("%s: %w", c.name, err)
	}
	row.fill(report, ctx.Err() != nil)
	view.end(row)
	return nil
}
