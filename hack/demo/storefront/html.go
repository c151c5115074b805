package storefront

import (
	"fmt"
	"html/template"
	"io"
	"strings"
)

// tea is what the shop sells.
type tea struct {
	Names map[string]string
	Price string
}

var teas = []tea{
	{map[string]string{"en": "Longjing, before the rain", "zh": "明前龙井 longjing"}, "€ 28.00"},
	{map[string]string{"en": "Tieguanyin, lightly roasted", "zh": "清香铁观音 tieguanyin"}, "€ 22.00"},
	{map[string]string{"en": "Pu'er, ten years old", "zh": "十年熟普洱 puer"}, "€ 45.00"},
	{map[string]string{"en": "White peony", "zh": "白牡丹 baimudan"}, "€ 19.00"},
}

// words are the texts of the pages by language.
var words = map[string]map[string]string{
	"en": {
		"shop": "The Tea Garden", "product": "Our teas", "search": "Search", "basket": "Your basket",
		"checkout": "Checkout", "order-status": "Where is my order?", "support": "Help",
		"sorry": "We are sorry: this page cannot be shown just now. Please try again.",
		"empty": "We found nothing by that name.", "pay": "Pay € 28.00", "address": "Address",
		"card": "Card number", "shipped": "Shipped, here tomorrow", "back": "How do I send something back?",
	},
	"zh": {
		"shop": "茶园", "product": "本店好茶", "search": "搜索", "basket": "购物车",
		"checkout": "结账", "order-status": "我的订单在哪里？", "support": "帮助中心",
		"sorry": "抱歉，页面暂时无法显示，请稍后再试。",
		"empty": "没有找到相关商品。", "pay": "支付 € 28.00", "address": "收货地址",
		"card": "卡号", "shipped": "已发货，明天送达", "back": "如何退货？",
	},
}

// languageOf chooses between the two languages of the shop.
func languageOf(accept string) string {
	first, _, _ := strings.Cut(accept, ",")
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(first)), "zh") {
		return "zh"
	}
	return "en"
}

var layout = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="{{.Language}}">
<head><meta charset="utf-8"><title>{{index .Words .Page}} · {{.Words.shop}}</title></head>
<body>
<nav>{{range .Menu}}<a href="{{.Path}}">{{index $.Words .Name}}</a> {{end}}</nav>
<h1>{{index .Words .Page}}</h1>
{{if eq .Page "product" "search" "basket"}}<ul>{{range .Teas}}<li>{{index .Names $.Language}} <b>{{.Price}}</b></li>{{else}}<li>{{.Words.empty}}</li>{{end}}</ul>
{{else if eq .Page "checkout"}}<form method="post"><label>{{.Words.address}} <input name="address"></label> <label>{{.Words.card}} <input name="card"></label> <button>{{.Words.pay}}</button></form>
{{else if eq .Page "order-status"}}<ol><li>✓</li><li>✓</li><li>{{.Words.shipped}}</li></ol>
{{else}}<h2>{{.Words.back}}</h2><form action="/search"><input name="q"></form>{{end}}
</body>
</html>
`))

// renderPage writes a page and tells whether there was anything to show on it.
func renderPage(w io.Writer, page, language, query string) (found bool) {
	shown := teas
	if page == "search" && query != "" {
		shown = nil
		for _, tea := range teas {
			for _, name := range tea.Names {
				if strings.Contains(strings.ToLower(name), strings.ToLower(query)) {
					shown = append(shown, tea)
					break
				}
			}
		}
	}
	err := layout.Execute(w, map[string]any{
		"Page": page, "Language": language, "Words": words[language], "Menu": Pages, "Teas": shown,
	})
	if err != nil {
		fmt.Fprintln(w, template.HTMLEscapeString(err.Error()))
	}
	return len(shown) > 0
}

func renderApology(w io.Writer, language string) {
	fmt.Fprintf(w, "<!doctype html><html lang=%q><meta charset=\"utf-8\"><p>%s</p></html>\n", language, words[language]["sorry"])
}
