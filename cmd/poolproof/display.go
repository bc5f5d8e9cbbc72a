package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// display shows bars on a terminal, a line for each result elsewhere.
type display struct {
	out  io.Writer
	lost func(error)   // told that out cannot be written to
	bars *mpb.Progress // nil if out is no terminal, or one of unknown size
	bar  map[string]*mpb.Bar
}

func newDisplay(out io.Writer, lost func(error)) *display {
	d := &display{out: out, lost: lost, bar: map[string]*mpb.Bar{}}
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			d.bars = mpb.New(mpb.WithOutput(out))
		}
	}
	return d
}

// line prints a line; not once there are bars.
func (d *display) line(format string, args ...any) {
	if _, err := fmt.Fprintf(d.out, format+"\n", args...); err != nil {
		d.lost(err)
	}
}

func barName(layer, subtest, machine string) string {
	return fmt.Sprintf("%s %s (%s)", layer, subtest, machine)
}

func (d *display) progress(layer string, p *progress) {
	if d.bars == nil {
		return
	}
	name := barName(layer, p.Subtest, p.Machine)
	bar, ok := d.bar[name]
	if !ok {
		bar = d.bars.AddBar(int64(p.Asked),
			mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-36s", name))),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d")))
		d.bar[name] = bar
	}
	bar.SetCurrent(int64(p.Done))
}

func (d *display) result(r *row) {
	name := barName(r.Layer, r.Subtest, r.Machine)
	if d.bars == nil {
		d.line("%s: %s, %d of %d checks", name, r.Verdict, r.Executed, r.Asked)
		return
	}
	if bar := d.bar[name]; bar != nil {
		if r.Verdict == verdictPassed {
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
