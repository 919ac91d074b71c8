package sites

import (
	"context"
	"fmt"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// LostList implements operator.DR.
func (d DR) LostList(ctx context.Context) (operator.LostList, error) {
	archives, err := d.p.shelf.List(ctx)
	if err != nil {
		return operator.LostList{}, err
	}
	list := operator.LostList{Archives: archives}
	if d.asked {
		return list, nil
	}
	var there operator.LostList
	if err := d.p.forward(ctx, operator.OpLostList, nil, &there); err != nil {
		list.Missing = fmt.Sprintf("those of the other site: %v", err)
	}
	list.Archives = append(list.Archives, there.Archives...)
	return list, nil
}

// LostShow implements operator.DR.
func (d DR) LostShow(ctx context.Context, from operator.LostPlace) (operator.LostPage, error) {
	if d.elsewhere(from.Site) {
		var out operator.LostPage
		err := d.p.forward(ctx, operator.OpLostShow, from, &out)
		return out, err
	}
	if err := d.mine(from); err != nil {
		return operator.LostPage{}, err
	}
	return d.p.shelf.Show(ctx, from)
}

// LostRemove implements operator.DR.
func (d DR) LostRemove(ctx context.Context, place operator.LostPlace) error {
	if d.elsewhere(place.Site) {
		return d.p.forward(ctx, operator.OpLostRemove, place, nil)
	}
	if err := d.mine(place); err != nil {
		return err
	}
	return d.p.shelf.Remove(place)
}

// mine refuses what lies at the other site, which cannot be reached.
func (d DR) mine(place operator.LostPlace) error {
	if place.Site == d.p.options.Config.Name {
		return nil
	}
	return &operator.Error{Code: operator.CodeRefused, Text: "the archive is at the other site, which cannot be reached from here", Next: "ask a broker of " + place.Site}
}
