"""Function words that say nothing about a document: articles, prepositions, conjunctions, pronouns, forms of to be.

The lists are short on purpose, as the one that search engines use for English: a word that may carry meaning stays in.
They were put together for this library; words are lower-case and in NFC.
"""

__all__ = ["ENGLISH_STOP_WORDS", "STOP_WORDS"]

_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with
"""
_DANISH = """
af alle at da de dem den denne der deres det dette dig din du efter eller en end er et for fra ham han har havde hende
her hos hun hvad hvem hvis hvor i ikke ind jeg jer jo kan man med mig min mod ned nej nu når og også om op os over på
samt sig skal som så til ud under var vi vil ved være været ville
"""
_DUTCH = """
aan al als bij dan dat de der deze die dit door een en er had heb hebben heeft hem het hier hij hoe hun ik in is je kan
me men met mijn na naar niet nog nu of om onder ons ook op over te tot u uit van voor was wat we wel werd wie wij wil
worden wordt zal ze zich zij zijn zo zonder zou
"""
_FINNISH = """
ei eivät en että he hän häneen häntä ja joka jos jotka kanssa kuin kun me mikä minä mitä mukaan mutta myös ne niin niitä
nyt näin olen oli olivat olla on ovat se sekä sen siihen siinä siitä sinä sitä tai te tuo tämä tämän tätä vaan vai
vaikka
"""
_FRENCH = """
ai au aux avec c ce ces cette d dans de des du elle elles en est et eu il ils j je l la le les leur leurs lui m ma mais
me mes mon n ne nos notre nous on ont ou par pas pour qu que qui s sa se ses si son sont sur t ta te tes toi ton tu un
une vos votre vous y à été être
"""
_GERMAN = """
aber als am an auch auf aus bei bin bis bist da das dass dein dem den der des dich die dies diese diesem diesen dieser
dieses dir doch du durch ein eine einem einen einer eines er es euch für hat hatte ich ihm ihn ihnen ihr ihre im in ins
ist ja kein keine mein mich mir mit nach nicht noch nun nur ob oder ohne sein seine sich sie sind so um und uns unter
vom von vor war waren was wegen wenn wer wie wir wird wo zu zum zur zwischen über
"""
_HUNGARIAN = """
a az azok azt azzal be de e egy ehhez ez ezek ezt fel ha hogy is itt ki le lesz meg mely mert mi mint nem ott pedig s
sem ti te vagy van vannak volt voltak át én és ön ő ők
"""
_ITALIAN = """
a ad ai al alla alle allo c che chi ci come con da dagli dai dal dalla dalle dallo degli dei del dell della delle dello
di e ed era gli ha ho i il in io l la le lei lo loro lui ma mi ne negli nei nel nella nelle nello noi non o per più
quale quella quelle quelli quello questa queste questi questo se si sia sono su sua sue sui sul sulla sulle sullo suo
suoi ti tra tu tuo un una uno vi voi è
"""
_NORWEGIAN = """
alle at av bare da de deg dem den denne der deres det dette di din du eg ein ei eit eller en enn er et etter for fra ha
hadde han har henne her hos hun hva hvem hvis hvor i ikke inn ja jeg kan man med meg men mens min mot nei noe nå når og
også om opp oss over på seg selv si sin skal som så til ut var ved vi vil være vært
"""
_PORTUGUESE = """
a ao aos as até com como da das de dele deles do dos e ela elas ele eles em entre era essa essas esse esses esta estas
este estes está estão eu foi há isso isto já lhe mais mas me mesmo meu minha muito na nas nem no nos nossa nosso não nós
o os
ou para pela pelas pelo pelos por qual quando que quem se sem ser seu seus sob sobre sua suas são também te tu um uma
você vos à às é
"""
_ROMANIAN = """
a acea aceasta această aceea acel acest aceste al ale am ar are așa au aș aţi ba ca care că ce cei cel cele cu cum da
dacă dar de deci din după ea ei el ele este eu fi fie fost iar ie în între într îi îl îmi își la le li lor lui m mai mea
meu mi ne nici noi nu o ori pe pentru prin s sa sau se să si sunt și te tu un una unei unor unui va vă voi
"""
_RUSSIAN = """
а без бы был была были было быть в вам вас во вот все всё вы где да для до его ее её ей ему если есть ещё еще же за и из
или им их к как ко когда кто ли лишь мне мы на над не него нее неё нет ни них но ну о об он она они оно от по под при с
со так такой там то того тоже той только том ты у уж уже что чтобы эта эти это этого этой этом этот я
"""
_SPANISH = """
a al ante como con cual cuando de del desde donde e el ella ellas ellos en entre era eres es esa esas ese eso esos esta
estas este esto estos está están fue ha han hasta hay la las le les lo los me mi mis muy más ni no nos nosotros o para
pero por porque que quien qué se ser si sin sobre son su sus sí también te tu tus un una uno unos y ya yo él
"""
_SWEDISH = """
alla att av blev bli blir då de dem den denna deras dess det detta dig din du där efter ej eller en er ett från för ha
hade han har henne hennes hon honom hur här i icke in inte jag kan man med mellan men mig min mot ni nu när och om oss
på sedan sig sin ska skall som så till under upp ut vad var vem vi vid vill än är över
"""
_TURKISH = """
ama ancak bana bazı ben beni benim bir biri biz bize bizi bizim bu buna bunda bundan bunlar bunu bunun da daha de değil
diye en gibi hem hep her hiç için ile ise kadar ki kim mi mı mu mü nasıl ne neden o olan olarak on ona onlar onu onun
sen seni senin siz sizi sizin şu şunu ve veya ya yani
"""

# Language of the Snowball stemmer -> words to leave out. A new one is one list and one line.
STOP_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "danish": _DANISH,
        "dutch": _DUTCH,
        "english": _ENGLISH,
        "finnish": _FINNISH,
        "french": _FRENCH,
        "german": _GERMAN,
        "hungarian": _HUNGARIAN,
        "italian": _ITALIAN,
        "norwegian": _NORWEGIAN,
        "porter": _ENGLISH,
        "portuguese": _PORTUGUESE,
        "romanian": _ROMANIAN,
        "russian": _RUSSIAN,
        "spanish": _SPANISH,
        "swedish": _SWEDISH,
        "turkish": _TURKISH,
    }.items()
}
"""Short lists of function words by language, lower-case."""

ENGLISH_STOP_WORDS = STOP_WORDS["english"]
"""The short list of English function words that lexical search engines leave out by default."""
