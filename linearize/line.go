package linearize

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// A line of a history file is one flat JSON object: its values are strings, whole numbers
// and booleans. A line that encoding/json would take several microseconds for is read and
// written here in a few hundred nanoseconds, and a complaint can name the field.

// fieldError says what is wrong with a field of a line.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return fmt.Sprintf("field %q: %s", e.field, e.text) }

// value is the value of a field.
type value struct {
	kind byte // 's', 'n', 'b'
	text []byte
	neg  bool
	num  uint64
	is   bool
}

func (v *value) uint() (uint64, error) {
	if v.kind != 'n' || v.neg {
		return 0, fmt.Errorf("want a number that is not negative, got %s", v)
	}
	return v.num, nil
}

func (v *value) int() (int, error) {
	n, err := v.uint()
	if err == nil && n > math.MaxInt64 {
		return 0, fmt.Errorf("%d is too large", n)
	}
	return int(n), err
}

func (v *value) bool() (bool, error) {
	if v.kind != 'b' {
		return false, fmt.Errorf("want true or false, got %s", v)
	}
	return v.is, nil
}

func (v *value) bytes() ([]byte, error) {
	if v.kind != 's' {
		return nil, fmt.Errorf("want a string, got %s", v)
	}
	return v.text, nil
}

// oneOf returns the index of the value among names; the first, empty one does not count.
func (v *value) oneOf(names []string) (int, error) {
	text, err := v.bytes()
	if err != nil {
		return 0, err
	}
	for i := 1; i < len(names); i++ {
		if string(text) == names[i] {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %q", text, names[1:])
}

// String returns the value as JSON.
func (v *value) String() string {
	switch v.kind {
	case 's':
		return string(appendString(nil, string(v.text)))
	case 'b':
		return strconv.FormatBool(v.is)
	}
	sign := ""
	if v.neg {
		sign = "-"
	}
	return sign + strconv.FormatUint(v.num, 10)
}

// scanLine calls field for each member of the object in line, in order.
func scanLine(line []byte, field func(name []byte, v *value) error) error {
	s := scanner{line: line}
	if !s.skip('{') {
		return s.complain("an object")
	}
	if s.skip('}') {
		return s.end()
	}
	var v value
	for {
		name, err := s.string()
		if err != nil {
			return err
		}
		if !s.skip(':') {
			return s.complain("a colon")
		}
		v = value{}
		if err := s.value(&v); err != nil {
			return &fieldError{string(name), err.Error()}
		}
		if err := field(name, &v); err != nil {
			return &fieldError{string(name), err.Error()}
		}
		if s.skip(',') {
			continue
		}
		if !s.skip('}') {
			return s.complain("a comma or the end of the object")
		}
		return s.end()
	}
}

type scanner struct {
	line []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.line) {
		switch s.line[s.at] {
		case ' ', '\t', '\r':
			s.at++
		default:
			return
		}
	}
}

// skip goes past c and white space before it, if c is next.
func (s *scanner) skip(c byte) bool {
	s.space()
	if s.at < len(s.line) && s.line[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) end() error {
	s.space()
	if s.at < len(s.line) {
		return s.complain("nothing more")
	}
	return nil
}

func (s *scanner) complain(want string) error {
	if s.at >= len(s.line) {
		return fmt.Errorf("column %d: want %s, got the end of the line", s.at+1, want)
	}
	return fmt.Errorf("column %d: want %s, got %q", s.at+1, want, s.line[s.at])
}

// string reads a string; the result is valid until the line is overwritten.
func (s *scanner) string() ([]byte, error) {
	if !s.skip('"') {
		return nil, s.complain("a string")
	}
	from := s.at
	for ; s.at < len(s.line); s.at++ {
		switch c := s.line[s.at]; {
		case c == '"':
			s.at++
			return s.line[from : s.at-1], nil
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			return s.hardString(from)
		}
	}
	return nil, s.complain("the end of a string")
}

// hardString reads a string that begins at from and has more than plain characters.
func (s *scanner) hardString(from int) ([]byte, error) {
	for ; s.at < len(s.line); s.at++ {
		switch s.line[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			var text string
			if err := json.Unmarshal(s.line[from-1:s.at], &text); err != nil {
				return nil, fmt.Errorf("column %d: %w", from, err)
			}
			return []byte(text), nil
		}
	}
	return nil, s.complain("the end of a string")
}

func (s *scanner) value(v *value) (err error) {
	s.space()
	if s.at == len(s.line) {
		return s.complain("a value")
	}
	switch c := s.line[s.at]; {
	case c == '"':
		v.kind = 's'
		v.text, err = s.string()
		return err
	case c == '-' || c >= '0' && c <= '9':
		v.kind = 'n'
		return s.number(v)
	case s.word("true"):
		v.kind, v.is = 'b', true
	case s.word("false"):
		v.kind = 'b'
	default:
		return s.complain("a string, a whole number, true or false")
	}
	return nil
}

func (s *scanner) word(w string) bool {
	if len(s.line)-s.at < len(w) || string(s.line[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) number(v *value) error {
	v.neg = s.line[s.at] == '-'
	if v.neg {
		s.at++
	}
	from := s.at
	for ; s.at < len(s.line) && s.line[s.at] >= '0' && s.line[s.at] <= '9'; s.at++ {
		d := uint64(s.line[s.at] - '0')
		if v.num > (math.MaxUint64-d)/10 {
			return fmt.Errorf("column %d: the number is too large", from+1)
		}
		v.num = v.num*10 + d
	}
	if s.at == from || s.at-from > 1 && s.line[from] == '0' {
		return fmt.Errorf("column %d: want a whole number", from+1)
	}
	if s.at < len(s.line) {
		switch s.line[s.at] {
		case '.', 'e', 'E':
			return s.complain("a whole number")
		}
	}
	return nil
}

// line builds a line.
type line struct{ b []byte }

func (l *line) begin() { l.b = append(l.b[:0], '{') }

func (l *line) name(name string) {
	if len(l.b) > 1 {
		l.b = append(l.b, ',')
	}
	l.b = append(l.b, '"')
	l.b = append(l.b, name...)
	l.b = append(l.b, '"', ':')
}

// number, text and flag leave out zero.
func (l *line) number(name string, n uint64) {
	if n != 0 {
		l.name(name)
		l.b = strconv.AppendUint(l.b, n, 10)
	}
}

func (l *line) text(name, s string) {
	if s != "" {
		l.name(name)
		l.b = appendString(l.b, s)
	}
}

func (l *line) flag(name string, is bool) {
	if is {
		l.name(name)
		l.b = append(l.b, "true"...)
	}
}

// session writes the name of a session, which need not be UTF-8.
func (l *line) session(s string) {
	if utf8.ValidString(s) {
		l.text("session", s)
		return
	}
	l.text("session_hex", hex.EncodeToString([]byte(s)))
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			text, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
