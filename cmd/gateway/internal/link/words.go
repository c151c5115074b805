package link

import (
	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// words are what a page says.
type words struct {
	question, lowest, highest string
	comment, send, thanks     string
	// What a customer is told when something does not go as planned.
	choose, busy, failed, closed string
}

// asked are the words of each question, common those of every page, by language.
var asked = map[v1alpha1.Language]map[v1alpha1.InstrumentType]words{
	v1alpha1.LanguageEnglish: {
		v1alpha1.InstrumentCES:  {question: "How much do you agree: it was made easy for me to handle my issue?", lowest: "strongly disagree", highest: "strongly agree"},
		v1alpha1.InstrumentCES1: {question: "How much effort did you personally have to put forth to handle your request?", lowest: "very low effort", highest: "very high effort"},
		v1alpha1.InstrumentCSAT: {question: "How satisfied were you?", lowest: "very dissatisfied", highest: "very satisfied"},
		v1alpha1.InstrumentNPS:  {question: "How likely are you to recommend us to a friend or colleague?", lowest: "not at all likely", highest: "extremely likely"},
	},
	v1alpha1.LanguageChinese: {
		v1alpha1.InstrumentCES:  {question: "您是否同意：我的问题很容易就得到了解决？", lowest: "非常不同意", highest: "非常同意"},
		v1alpha1.InstrumentCES1: {question: "为了办成这件事，您花了多少力气？", lowest: "非常省力", highest: "非常费力"},
		v1alpha1.InstrumentCSAT: {question: "您对这次体验满意吗？", lowest: "非常不满意", highest: "非常满意"},
		v1alpha1.InstrumentNPS:  {question: "您有多大可能向朋友或同事推荐我们？", lowest: "完全不可能", highest: "极有可能"},
	},
}

var common = map[v1alpha1.Language]words{
	v1alpha1.LanguageEnglish: {
		comment: "What would you like to add? (optional)", send: "Send", thanks: "Thank you. Your answer has arrived.",
		choose: "Please choose a number.", busy: "Too many answers are arriving. Please try again in a minute.",
		failed: "Your answer could not be kept just now. Please send it again in a moment.", closed: "There is no survey here.",
	},
	v1alpha1.LanguageChinese: {
		comment: "您还想补充什么？（选填）", send: "提交", thanks: "谢谢！我们已收到您的回答。",
		choose: "请选择一个分数。", busy: "当前提交的人太多，请一分钟后再试。",
		failed: "暂时无法保存您的回答，请稍后重新提交。", closed: "这里没有问卷。",
	},
}

// wordsFor returns what a touchpoint's page says.
func wordsFor(link *v1alpha1.SurveyLink, instrument v1alpha1.InstrumentType) (v1alpha1.Language, words) {
	language := link.Language
	if _, spoken := common[language]; !spoken {
		language = v1alpha1.LanguageEnglish
	}
	w, of := common[language], asked[language][instrument]
	w.question, w.lowest, w.highest = of.question, of.lowest, of.highest
	if own := link.Texts; own != nil {
		for _, each := range []struct {
			text v1alpha1.PageText
			word *string
		}{
			{own.Question, &w.question}, {own.Lowest, &w.lowest}, {own.Highest, &w.highest},
			{own.Comment, &w.comment}, {own.Send, &w.send}, {own.Thanks, &w.thanks},
		} {
			if each.text != "" {
				*each.word = string(each.text)
			}
		}
	}
	return language, w
}
