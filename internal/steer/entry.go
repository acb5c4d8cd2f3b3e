package steer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An entry of a list is a PoP's name, or a name and a weight: "ams1*3". Neighbours with weights are one choice: each client block
// is in the share of one of them, in proportion to the weights, as rendezvous hashing has it. [ams1*3, ams2*1, iad2] sends a
// quarter of the blocks to ams2, and to iad2 whom neither can serve.

// MaxWeight is the greatest weight of a list's entry.
const MaxWeight = 65535

// SplitEntry returns the name and the weight of a list's entry, 0 if it has none. The entry must have passed CheckList.
func SplitEntry(entry string) (name string, weight uint32) {
	name, digits, _ := strings.Cut(entry, "*")
	for _, c := range []byte(digits) {
		weight = weight*10 + uint32(c-'0')
	}
	return name, weight
}

// CheckList returns an error unless list can be a row's: 1 to 64 distinct PoP names, each with a weight or without.
func CheckList(list []string) error {
	if len(list) == 0 {
		return errors.New("empty pop list: name at least one")
	}
	if len(list) > MaxListLen {
		return fmt.Errorf("pop list of %d: %w, at most %d", len(list), ErrTooLarge, MaxListLen)
	}
	for i, entry := range list {
		name, err := checkEntry(entry)
		if err != nil {
			return err
		}
		for _, other := range list[:i] {
			if other, _ := SplitEntry(other); other == name {
				return fmt.Errorf("pop %s is twice in the list", name)
			}
		}
	}
	return nil
}

// checkEntry returns the name of a list's entry.
func checkEntry(entry string) (name string, err error) {
	name, weight, weighted := strings.Cut(entry, "*")
	if err := CheckName(name); err != nil {
		return "", err
	}
	if !weighted {
		return name, nil
	}
	// One spelling for each weight: lists are compared as text.
	if n, err := strconv.ParseUint(weight, 10, 16); err != nil || n == 0 || weight[0] == '0' || weight[0] == '+' {
		return "", fmt.Errorf("pop %s has weight %.20q, want 1 to %d", name, weight, MaxWeight)
	}
	return name, nil
}
