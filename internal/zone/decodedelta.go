package zone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// decodeDelta reads a delta: keys to delete, then RRsets, then settings, each in canonical order.
func decodeDelta(origin Name, b []byte) (Delta, error) {
	var d deltaDecoder
	sink := blockSink{set: d.put, settings: d.settings, remove: d.remove}
	raw := 0
	r := blockReader{origin: origin}
	for len(b) > 0 {
		if len(b) < 4 || int64(len(b)-4) < int64(binary.BigEndian.Uint32(b)) {
			return Delta{}, errors.New("the delta is cut off")
		}
		end := 4 + int(binary.BigEndian.Uint32(b))
		if err := r.readBlock(magicDelta, b[4:end], sink); err != nil {
			return Delta{}, err
		}
		if raw += r.raw; raw > maxDelta {
			return Delta{}, fmt.Errorf("the delta is larger than %d octets", maxDelta)
		}
		b = b[end:]
	}
	if d.Empty() {
		return Delta{}, errors.New("the delta is empty")
	}
	return d.Delta, nil
}

// deltaDecoder takes a delta's entries and refuses what is out of order.
type deltaDecoder struct {
	Delta
	last Name // owner of the last settings
}

func (d *deltaDecoder) remove(k Key) error {
	if n := len(d.Delete); len(d.Put) > 0 || len(d.Steer) > 0 || n > 0 && compareKeys(d.Delete[n-1], k) >= 0 {
		return errOrder
	}
	d.Delete = append(d.Delete, k)
	return nil
}

func (d *deltaDecoder) put(s *RRset) error {
	if n := len(d.Put); len(d.Steer) > 0 || n > 0 && compareKeys(d.Put[n-1].Key(), s.Key()) >= 0 {
		return errOrder
	}
	d.Put = append(d.Put, s.clone())
	return nil
}

func (d *deltaDecoder) settings(owner Name, st Steering) error {
	if d.Steer == nil {
		d.Steer = map[Name]Steering{}
	} else if d.last.Compare(owner) >= 0 {
		return errOrder
	}
	d.Steer[owner], d.last = st, owner
	return nil
}

// clone copies the owner and the rdata.
func (s *RRset) clone() RRset {
	out := *s
	out.Owner = Name(strings.Clone(string(s.Owner)))
	out.Rdata = make([]Rdata, len(s.Rdata))
	for i, rd := range s.Rdata {
		out.Rdata[i] = Rdata{Wire: bytes.Clone(rd.Wire), Weight: rd.Weight}
	}
	return out
}
