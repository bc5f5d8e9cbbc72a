package linearize

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Version is the version of the format of history files that this package writes, and the
// only one that it reads.
const Version = 1

// maxLine is the longest line that a history file may have, in bytes.
const maxLine = 1 << 16

// ErrTruncated reports that a history file ends before its last line: what was writing it
// did not come to an end.
var ErrTruncated = errors.New("linearize: the history is truncated")

// Writer writes a history as JSON lines, one at a time. It is for one goroutine.
type Writer struct {
	w    *bufio.Writer
	line line
	n    counts
}

// NewWriter writes the head of a history to w and returns a Writer of the rest.
func NewWriter(w io.Writer, head *Head) (*Writer, error) {
	to := &Writer{w: bufio.NewWriterSize(w, maxLine)}
	if int(head.Config.Affinity)+1 >= len(affinityNames) {
		return nil, fmt.Errorf("linearize: affinity %d is unknown", head.Config.Affinity)
	}
	to.line.head(head)
	return to, to.put()
}

// Op writes the next op, in order of calls.
func (w *Writer) Op(o *Op) error {
	w.line.op(o)
	w.n.ops++
	return w.put()
}

// Change writes the next change, in order of Seq.
func (w *Writer) Change(c *Change) error {
	w.line.change(c)
	w.n.changes++
	return w.put()
}

// Fault writes the next fault, in order of From.
func (w *Writer) Fault(f *Fault) error {
	w.line.fault(f)
	w.n.faults++
	return w.put()
}

// Close writes the end of the history. It does not close what it writes to.
func (w *Writer) Close() error {
	w.line.end(&w.n)
	if err := w.put(); err != nil {
		return err
	}
	return w.w.Flush()
}

func (w *Writer) put() error {
	if len(w.line.b)+2 > maxLine {
		return fmt.Errorf("linearize: a line of %d bytes: want at most %d", len(w.line.b)+2, maxLine)
	}
	_, err := w.w.Write(append(w.line.b, '}', '\n'))
	return err
}

// Write writes a whole history.
func Write(w io.Writer, h *History) error {
	to, err := NewWriter(w, &h.Head)
	if err != nil {
		return err
	}
	for i := range h.Ops {
		if err := to.Op(&h.Ops[i]); err != nil {
			return err
		}
	}
	for i := range h.Changes {
		if err := to.Change(&h.Changes[i]); err != nil {
			return err
		}
	}
	for i := range h.Faults {
		if err := to.Fault(&h.Faults[i]); err != nil {
			return err
		}
	}
	return to.Close()
}

// WriteFile writes a history to a new file, or over an old one; compressed if the name
// ends in ".gz".
func WriteFile(name string, h *History) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if !strings.HasSuffix(name, ".gz") {
		return Write(f, h)
	}
	z := gzip.NewWriter(f)
	if err := Write(z, h); err != nil {
		return err
	}
	return z.Close()
}

// Record is a line of a history file: one of its fields is set.
type Record struct {
	Op     *Op
	Change *Change
	Fault  *Fault
}

// Reader reads a history one line at a time, in constant memory but for the names of
// sessions. It is for one goroutine.
type Reader struct {
	Head   Head
	scan   *bufio.Scanner
	fields *fields
	names  interner
	number int  // of the current line
	cut    bool // the current line has no end of its own
	n      counts
	last   struct {
		op     int
		call   int64
		change uint64
		from   int64
	}
	ended  bool
	op     Op
	change Change
	fault  Fault
}

// NewReader reads the head of a history from r and returns a Reader of the rest. Errors
// name the line and the field.
func NewReader(r io.Reader) (*Reader, error) {
	from := &Reader{scan: bufio.NewScanner(r), fields: newFields(), names: interner{map[string]string{}}}
	from.scan.Buffer(make([]byte, 0, 4096), maxLine)
	from.scan.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, text, err := bufio.ScanLines(data, atEOF)
		from.cut = text != nil && data[n-1] != '\n'
		return n, text, err
	})
	text, err := from.text()
	if err != nil {
		return nil, err
	}
	version := uint64(0)
	err = scanLine(text, func(name []byte, v *value) (err error) {
		if string(name) == "history" {
			version, err = v.uint()
			return err
		}
		return set(from.fields.head, &from.Head, name, v, &from.names)
	})
	switch {
	case err != nil:
		return nil, from.complain(err)
	case version == 0:
		return nil, from.complain(&fieldError{"history", "missing: this is no history"})
	case version != Version:
		return nil, from.complain(&fieldError{"history", fmt.Sprintf("version %d, want %d", version, Version)})
	}
	return from, nil
}

// complain says which line is wrong. A last line that does not end is cut off.
func (r *Reader) complain(err error) error {
	if r.cut {
		return fmt.Errorf("%w within line %d: %w", ErrTruncated, r.number, err)
	}
	return fmt.Errorf("linearize: line %d: %w", r.number, err)
}

// text returns the next line.
func (r *Reader) text() ([]byte, error) {
	r.number++
	if r.scan.Scan() {
		return r.scan.Bytes(), nil
	}
	switch err := r.scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, r.complain(fmt.Errorf("longer than %d bytes", maxLine))
	case err != nil:
		return nil, r.complain(err)
	}
	return nil, fmt.Errorf("%w before line %d", ErrTruncated, r.number)
}

// nothing reports what comes after the end of the history, or keeps it from being read: a
// compressed file ends with a sum of what was in it.
func (r *Reader) nothing() error {
	r.number++
	more := r.scan.Scan()
	err := r.scan.Err()
	switch r.cut = false; {
	case more, errors.Is(err, bufio.ErrTooLong):
		return r.complain(errors.New("want nothing after the end of the history"))
	case err != nil:
		return r.complain(err)
	}
	return nil
}

// Next returns the next line, which is valid until the call after. It returns io.EOF after
// the end of the history, ErrTruncated if that is missing.
func (r *Reader) Next() (Record, error) {
	if r.ended {
		return Record{}, io.EOF
	}
	text, err := r.text()
	if err != nil {
		return Record{}, err
	}
	record, err := r.record(text)
	if err != nil {
		return Record{}, r.complain(err)
	}
	if r.ended {
		if err := r.nothing(); err != nil {
			return Record{}, err
		}
		return Record{}, io.EOF
	}
	return record, nil
}

// record reads a line, whose first field says what it is.
func (r *Reader) record(text []byte) (Record, error) {
	r.op, r.change, r.fault = Op{}, Change{}, Fault{}
	var stated counts
	what := ""
	err := scanLine(text, func(name []byte, v *value) (err error) {
		switch what {
		case "":
			switch what = string(name); what {
			case "op":
				r.op.ID, err = v.int()
			case "change":
				r.change.Seq, err = v.uint()
			case "fault":
				var b []byte
				b, err = v.bytes()
				r.fault.Kind = r.names.string(b)
			case "end":
				_, err = v.bool()
			default:
				err = errors.New(`want "op", "change", "fault" or "end" first`)
			}
			return err
		case "op":
			return set(r.fields.op, &r.op, name, v, &r.names)
		case "change":
			return set(r.fields.change, &r.change, name, v, &r.names)
		case "fault":
			return set(r.fields.fault, &r.fault, name, v, &r.names)
		}
		return set(r.fields.end, &stated, name, v, &r.names)
	})
	if err != nil {
		return Record{}, err
	}
	switch what {
	case "op":
		return Record{Op: &r.op}, r.checkOp()
	case "change":
		return Record{Change: &r.change}, r.checkChange()
	case "fault":
		return Record{Fault: &r.fault}, r.checkFault()
	case "end":
		r.ended = true
		if stated != r.n {
			return Record{}, fmt.Errorf("the end says %d ops, %d changes, %d faults; there are %d, %d, %d",
				stated.ops, stated.changes, stated.faults, r.n.ops, r.n.changes, r.n.faults)
		}
		return Record{}, nil
	}
	return Record{}, errors.New("an empty object")
}

func (r *Reader) checkOp() error {
	o := &r.op
	switch {
	case o.ID <= r.last.op:
		return &fieldError{"op", fmt.Sprintf("%d after %d: want them in order", o.ID, r.last.op)}
	case o.Kind == 0:
		return &fieldError{"do", "missing"}
	case int64(o.Call) < r.last.call:
		return &fieldError{"call", fmt.Sprintf("%d after %d: want them in order", int64(o.Call), r.last.call)}
	case o.Outcome == NoAnswer && o.Return != 0:
		return &fieldError{"outcome", "missing, although there is a return"}
	case o.Outcome != NoAnswer && o.Return < o.Call:
		return &fieldError{"return", fmt.Sprintf("%d is before the call at %d", int64(o.Return), int64(o.Call))}
	}
	r.last.op, r.last.call = o.ID, int64(o.Call)
	r.n.ops++
	return nil
}

func (r *Reader) checkChange() error {
	c := &r.change
	switch {
	case c.Seq == 0 || c.Seq < r.last.change:
		return &fieldError{"change", fmt.Sprintf("%d after %d: want them in order", c.Seq, r.last.change)}
	case c.Kind == 0:
		return &fieldError{"kind", "missing"}
	}
	r.last.change = c.Seq
	r.n.changes++
	return nil
}

func (r *Reader) checkFault() error {
	f := &r.fault
	switch {
	case f.Kind == "":
		return &fieldError{"fault", "empty"}
	case int64(f.From) < r.last.from:
		return &fieldError{"from", fmt.Sprintf("%d after %d: want them in order", int64(f.From), r.last.from)}
	case f.To < f.From:
		return &fieldError{"to", fmt.Sprintf("%d is before %d, where it began", int64(f.To), int64(f.From))}
	}
	r.last.from = int64(f.From)
	r.n.faults++
	return nil
}

// Read reads a whole history.
func Read(r io.Reader) (*History, error) {
	from, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	h := &History{Head: from.Head}
	for {
		switch line, err := from.Next(); {
		case err == io.EOF:
			return h, nil
		case err != nil:
			return nil, err
		case line.Op != nil:
			h.Ops = append(h.Ops, *line.Op)
		case line.Change != nil:
			h.Changes = append(h.Changes, *line.Change)
		default:
			h.Faults = append(h.Faults, *line.Fault)
		}
	}
}

// ReadFile reads a history from a file, which is decompressed if its name ends in ".gz".
func ReadFile(name string) (*History, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	h, err := Read(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}
