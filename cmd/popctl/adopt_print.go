package main

import (
	"fmt"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
)

// cachedLines tells what became of each dataset in the cache.
func cachedLines(datasets []publish.Cached, restore bool, verb string) []string {
	var lines []string
	same, left := 0, false
	for _, d := range datasets {
		switch {
		case d.New != 0:
			lines = append(lines, fmt.Sprintf("%s: the cache's serial %d, %d items, was published as serial %d%s", d.Path, d.Serial, d.Items, d.New, replaced(d)))
		case d.Refused == "":
			same++
		case restore:
			lines = append(lines, fmt.Sprintf("%s: the cache's serial %d, %d items, %s%s", d.Path, d.Serial, d.Items, verb, replaced(d)))
		default:
			lines = append(lines, fmt.Sprintf("%s: still refused by an edge that serves serial %d: %s", d.Path, d.Serial, oneLine(d.Refused)))
			left = true
		}
	}
	if left {
		lines = append(lines, "publish those with higher serials, or from the cache with popctl adopt --restore DIR")
	}
	if same > 0 {
		lines = append(lines, fmt.Sprintf("%d datasets: the store has what an edge with this cache takes", same))
	}
	return lines
}

func replaced(d publish.Cached) string {
	if d.Stored == 0 {
		return ""
	}
	return fmt.Sprintf(", over the store's serial %d", d.Stored)
}

// adoptView is what adopt prints with -o json.
type adoptView struct {
	dataset.Cluster
	Changed  bool             `json:"changed"`
	Added    []string         `json:"added"`
	Removed  []string         `json:"removed"`
	Dropped  []string         `json:"dropped"`
	Datasets []publish.Cached `json:"datasets,omitempty"`
}

func (a *app) printAdopted(r *publish.IdentityReceipt, datasets []publish.Cached) error {
	for _, id := range r.Dropped {
		a.warn(fmt.Sprintf("the adoption of %s was not signed by a key that is trusted, and was left out: if it is meant, popctl adopt %[1]s", id))
	}
	lines := cachedLines(datasets, false, "")
	for _, id := range r.Added {
		lines = append(lines, fmt.Sprintf("adopted %s: edges that serve its data follow within seconds, where serials are above theirs", id),
			"undo: popctl adopt --undo "+id)
	}
	for _, id := range r.Removed {
		lines = append(lines, fmt.Sprintf("no longer adopted: %s; edges that have followed already stay", id), "undo: popctl adopt "+id)
	}
	if r.Epoch != r.OldEpoch {
		lines = append(lines, fmt.Sprintf("epoch %d → %d; it can't be lowered, and shows from the next version of each zone, map and PoP table on", r.OldEpoch, r.Epoch))
	}
	if len(lines) == 0 || !r.Changed && len(datasets) == 0 {
		lines = append(lines, "nothing to do: "+identityLines(r.Cluster)[0])
	}
	return a.print(adoptView{r.Cluster, r.Changed || anyPublished(datasets), none(r.Added), none(r.Removed), none(r.Dropped), datasets}, lines...)
}

func anyPublished(datasets []publish.Cached) bool {
	for _, d := range datasets {
		if d.New != 0 {
			return true
		}
	}
	return false
}

// none is a list that is never null in JSON.
func none(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func identityLines(c dataset.Cluster) []string {
	lines := make([]string, 1, 1+len(c.Adopts))
	lines[0] = fmt.Sprintf("cluster %s, epoch %d, since %s", c.ID, c.Epoch, when(c.Created))
	for _, ad := range c.Adopts {
		lines = append(lines, fmt.Sprintf("adopts %s since %s, by %s", ad.ID, when(ad.At), oneLine(ad.By)))
	}
	return lines
}
