package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// display shows progress on a terminal, a line for each result elsewhere.
type display struct {
	out  io.Writer
	bars *mpb.Progress // nil if out is no terminal
	bar  map[string]*mpb.Bar
}

func newDisplay(out io.Writer) *display {
	d := &display{out: out, bar: map[string]*mpb.Bar{}}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		d.bars = mpb.New(mpb.WithOutput(out))
	}
	return d
}

func (d *display) progress(layer string, p *progress) {
	if d.bars == nil {
		return
	}
	name := fmt.Sprintf("%s %s (%s)", layer, p.Subtest, p.Machine)
	bar, ok := d.bar[name]
	if !ok {
		bar = d.bars.AddBar(int64(p.Asked),
			mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-36s", name))),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d")))
		d.bar[name] = bar
	}
	bar.SetCurrent(int64(p.Done))
}

func (d *display) result(r row) {
	if d.bars == nil {
		fmt.Fprintf(d.out, "%s %s (%s): %s, %d of %d checks\n", r.Layer, r.Subtest, r.Machine, r.Verdict, r.Executed, r.Asked)
		return
	}
	if bar := d.bar[fmt.Sprintf("%s %s (%s)", r.Layer, r.Subtest, r.Machine)]; bar != nil {
		if r.Verdict == "passed" {
			bar.SetCurrent(int64(r.Asked))
		} else {
			bar.Abort(false)
		}
	}
}

// close leaves the bars as they are.
func (d *display) close() {
	if d.bars == nil {
		return
	}
	for _, bar := range d.bar {
		bar.Abort(false)
	}
	d.bars.Wait()
}
