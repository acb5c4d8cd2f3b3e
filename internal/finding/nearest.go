package finding

import "strings"

const (
	// maxEdits is how far a word may be from what was meant: a letter forgotten, a letter too many, or two exchanged.
	maxEdits = 2
	// maxWord bounds the octets of a word that is compared; the words that our files know are shorter than that.
	maxWord = 64
)

// Nearest returns the known word that differs from word in the fewest octets added, removed or replaced, the first of several;
// "" when none is near. Upper and lower case are the same. A word all of whose octets would have to go is not near.
func Nearest(word string, known []string) string {
	if len(word) > maxWord {
		return ""
	}
	word = strings.ToLower(word)
	found, least := "", maxEdits+1
	for _, k := range known {
		if len(k) > maxWord {
			continue
		}
		if d := editDistance(word, strings.ToLower(k)); d < least && d < len(k) {
			found, least = k, d
		}
	}
	return found
}

// editDistance is Levenshtein's, on octets. It keeps one row of the table: diagonal is what the row above had one to the left.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
