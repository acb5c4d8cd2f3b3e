package tinydns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// TTLs in seconds and SOA fields that tinydns-data puts in for empty fields.
const (
	ttlNS       = 259200
	ttlSOA      = 2560
	ttlPositive = 86400

	soaRefresh = 16384
	soaRetry   = 2048
	soaExpire  = 1048576
	soaMinimum = 2560
)

// maxLine bounds a line. The longest sensible one holds 64 KiB of rdata in octal escapes.
const maxLine = 1 << 20

// txtString is how long tinydns-data makes the strings of a TXT record.
const txtString = 127

// record is one record of the file that lies at or below the origin.
type record struct {
	owner zone.Name
	typ   uint16
	ttl   uint32
	loc   string // "" for all clients
	line  int
	rdata []byte
}

type parser struct {
	origin   zone.Name
	modified time.Time
	popOf    map[string]string

	line      int
	records   []record
	locations Locations
	skipped   int
	errs      *finding.List
}

func newParser(file string, origin zone.Name) *parser {
	if file == "" {
		file = "data"
	}
	return &parser{errs: &finding.List{File: file}, origin: origin, locations: Locations{}}
}

func modTime(r io.Reader) time.Time {
	if f, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if st, err := f.Stat(); err == nil {
			return st.ModTime()
		}
	}
	return time.Unix(1, 0)
}

// serial is the one that tinydns-data makes of the file's time: never 0.
func (p *parser) serial() uint32 {
	return max(uint32(p.modified.Unix()), 1) //nolint:gosec // serials wrap (RFC 1982), as they do in tinydns-data
}

// lines reads the whole file. A line ends with LF or CR LF; blanks at its end do not count.
func (p *parser) lines(r io.Reader) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		p.line++
		if err := p.parseLine(strings.TrimRight(sc.Text(), " \t")); err != nil {
			p.errs.Add(p.line, "%w", err)
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		p.errs.Add(p.line+1, "line longer than %d octets (split it, if it is a data line at all)", maxLine)
	} else if err != nil {
		return fmt.Errorf("read %s: %w", p.errs.File, err)
	}
	return nil
}

// fields are those of one line, without its leading character.
type fields []string

func (f fields) at(i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

// fieldCount is how many fields a line has, by its leading character.
var fieldCount = map[byte]int{
	'Z': 11, '.': 6, '&': 6, '=': 5, '+': 5, '@': 7, '\'': 5, '^': 5, 'C': 5, ':': 6, '%': 2,
}

func (p *parser) parseLine(s string) error {
	if s == "" || s[0] == '#' || s[0] == '-' {
		return nil
	}
	count, ok := fieldCount[s[0]]
	if !ok {
		return unknownLine(s[0])
	}
	f := fields(strings.Split(s[1:], ":"))
	for i := count; i < len(f); i++ {
		if f[i] != "" {
			return fmt.Errorf(`field %d of a %c line is one too many: %.60q (write a colon inside a field as \072)`, i+1, s[0], f[i])
		}
	}
	switch s[0] {
	case '%':
		return p.location(f)
	case 'Z':
		return p.lineSOA(f)
	case '.', '&':
		return p.lineNS(s[0], f)
	case '=', '+':
		return p.lineA(s[0], f)
	case '@':
		return p.lineMX(f)
	case '\'':
		return p.lineTXT(f)
	case '^':
		return p.linePointer(dns.TypePTR, f)
	case 'C':
		return p.linePointer(dns.TypeCNAME, f)
	}
	return p.lineAny(f)
}

func unknownLine(c byte) error {
	switch c {
	case 'S', 'N':
		return fmt.Errorf("%c lines are of patched versions that differ in their fields (use a : line, type 33 for SRV, 35 for NAPTR)", c)
	case '3', '6':
		return fmt.Errorf("%c lines are of a patched version (use a : line of type 28 with the address in octal escapes)", c)
	}
	return fmt.Errorf(`unknown leading character %q (known: Z . & = + @ ' ^ C : %% - #)`, c)
}

// location reads %lo:ipprefix.
func (p *parser) location(f fields) error {
	if err := checkLocation(f.at(0)); err != nil {
		return err
	}
	prefix, err := parsePrefix(f.at(1))
	if err != nil {
		return err
	}
	if was, ok := p.locations[prefix]; ok && was != f.at(0) {
		return fmt.Errorf("clients of %s are already in location %q (keep one of the lines)", prefix, was)
	}
	p.locations[prefix] = f.at(0)
	return nil
}

// tail holds what ends every record line.
type tail struct {
	ttl uint32
	loc string
}

// parseTail reads ttl:timestamp:lo from field i on.
func parseTail(f fields, i int, ttl uint32) (t tail, err error) {
	if t.ttl, err = parseNumber("ttl", f.at(i), ttl, zone.MaxTTL); err != nil {
		return t, err
	}
	if err = checkTimestamp(f.at(i + 1)); err != nil {
		return t, err
	}
	t.loc = f.at(i + 2)
	return t, checkLocation(t.loc)
}

// add keeps a record if it lies at or below the origin.
func (p *parser) add(owner zone.Name, typ uint16, t tail, rdata []byte) {
	if !owner.IsSubdomainOf(p.origin) {
		p.skipped++
		return
	}
	p.records = append(p.records, record{owner, typ, t.ttl, t.loc, p.line, rdata})
}

func (p *parser) lineSOA(f fields) error {
	names := [3]zone.Name{}
	for i := range names {
		var err error
		if names[i], err = parseName(f.at(i)); err != nil {
			return err
		}
	}
	rdata := append([]byte(names[1]), names[2]...)
	defaults := [5]uint32{p.serial(), soaRefresh, soaRetry, soaExpire, soaMinimum}
	for i, name := range []string{"serial", "refresh time", "retry time", "expire time", "minimum time"} {
		n, err := parseNumber(name, f.at(3+i), defaults[i], 1<<32-1)
		if err != nil {
			return err
		}
		rdata = binary.BigEndian.AppendUint32(rdata, n)
	}
	t, err := parseTail(f, 8, ttlSOA)
	if err != nil {
		return err
	}
	if t.loc != "" {
		return fmt.Errorf("an SOA record for location %q only (remove the location: a zone has one SOA)", t.loc)
	}
	p.add(names[0], dns.TypeSOA, t, rdata)
	return nil
}

// server reads the fields fqdn:ip:x that begin ., & and @ lines. The address is empty when there is none.
func server(f fields, infix string) (owner, host zone.Name, ip []byte, err error) {
	if owner, err = parseName(f.at(0)); err != nil {
		return owner, host, nil, err
	}
	x := f.at(2)
	if !strings.Contains(x, ".") {
		x += infix + f.at(0)
	}
	if host, err = parseName(x); err != nil || f.at(1) == "" {
		return owner, host, nil, err
	}
	a, err := parseIP(f.at(1))
	return owner, host, a.AsSlice(), err
}

func (p *parser) lineNS(kind byte, f fields) error {
	owner, host, ip, err := server(f, ".ns.")
	if err != nil {
		return err
	}
	t, err := parseTail(f, 3, ttlNS)
	if err != nil {
		return err
	}
	if t.loc != "" {
		return fmt.Errorf("an NS record for location %q only (remove the location: a zone is cut the same for everyone)", t.loc)
	}
	if kind == '.' {
		p.defaultSOA(owner, host, t)
	}
	p.add(owner, dns.TypeNS, t, []byte(host))
	if ip != nil {
		p.add(host, dns.TypeA, t, ip)
	}
	return nil
}

// defaultSOA makes the SOA record of a . line.
func (p *parser) defaultSOA(owner, host zone.Name, t tail) {
	mail := owner.Prepend("hostmaster")
	if mail == "" { // the name is full: no mailbox fits, which RFC 1035 has no word for; the root serves
		mail = zone.Root
	}
	rdata := append([]byte(host), mail...)
	for _, n := range []uint32{p.serial(), soaRefresh, soaRetry, soaExpire, soaMinimum} {
		rdata = binary.BigEndian.AppendUint32(rdata, n)
	}
	if t.ttl > 0 {
		t.ttl = ttlSOA
	}
	p.add(owner, dns.TypeSOA, t, rdata)
}

func (p *parser) lineA(kind byte, f fields) error {
	owner, err := parseName(f.at(0))
	if err != nil {
		return err
	}
	ip, err := parseIP(f.at(1))
	if err != nil {
		return err
	}
	t, err := parseTail(f, 2, ttlPositive)
	if err != nil {
		return err
	}
	a := ip.As4()
	p.add(owner, dns.TypeA, t, a[:])
	if kind == '=' {
		reverse, err := parseName(fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", a[3], a[2], a[1], a[0]))
		if err != nil {
			return err
		}
		p.add(reverse, dns.TypePTR, t, []byte(owner))
	}
	return nil
}

func (p *parser) lineMX(f fields) error {
	owner, host, ip, err := server(f, ".mx.")
	if err != nil {
		return err
	}
	distance, err := parseNumber("distance", f.at(3), 0, 1<<16-1)
	if err != nil {
		return err
	}
	t, err := parseTail(f, 4, ttlPositive)
	if err != nil {
		return err
	}
	rdata := binary.BigEndian.AppendUint16(nil, uint16(distance)) //nolint:gosec // bounded by parseNumber
	p.add(owner, dns.TypeMX, t, append(rdata, host...))
	if ip != nil {
		p.add(host, dns.TypeA, t, ip)
	}
	return nil
}

func (p *parser) lineTXT(f fields) error {
	owner, err := parseName(f.at(0))
	if err != nil {
		return err
	}
	t, err := parseTail(f, 2, ttlPositive)
	if err != nil {
		return err
	}
	text := unescape(f.at(1))
	if len(text) == 0 {
		return errors.New("a TXT record without text (write one, or remove the line: tinydns would send a malformed record)")
	}
	rdata := make([]byte, 0, len(text)+len(text)/txtString+1)
	for len(text) > 0 {
		n := min(len(text), txtString)
		rdata = append(append(rdata, byte(n)), text[:n]...)
		text = text[n:]
	}
	return p.addChecked(owner, dns.TypeTXT, t, rdata)
}

// linePointer reads a ^ or C line.
func (p *parser) linePointer(typ uint16, f fields) error {
	owner, err := parseName(f.at(0))
	if err != nil {
		return err
	}
	target, err := parseName(f.at(1))
	if err != nil {
		return err
	}
	t, err := parseTail(f, 2, ttlPositive)
	if err != nil {
		return err
	}
	p.add(owner, typ, t, []byte(target))
	return nil
}

// lineAny reads a : line.
func (p *parser) lineAny(f fields) error {
	owner, err := parseName(f.at(0))
	if err != nil {
		return err
	}
	n, err := parseNumber("type", f.at(1), 0, 1<<16-1)
	if err != nil {
		return err
	}
	typ := uint16(n) //nolint:gosec // bounded by parseNumber
	switch typ {
	case 0, dns.TypeSOA, dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeMX, dns.TypeAXFR:
		return fmt.Errorf("type %d is prohibited in a : line (use the line made for it)", typ)
	}
	t, err := parseTail(f, 3, ttlPositive)
	if err != nil {
		return err
	}
	return p.addChecked(owner, typ, t, unescape(f.at(2)))
}

// addChecked is add for rdata that the line gives octet by octet.
func (p *parser) addChecked(owner zone.Name, typ uint16, t tail, rdata []byte) error {
	if _, err := zone.NewRRset(owner, typ, t.ttl, "", zone.Rdata{Wire: rdata}); err != nil {
		return fmt.Errorf("%w (check the octets against the type's format)", err)
	}
	p.add(owner, typ, t, rdata)
	return nil
}
